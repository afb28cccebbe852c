"""The mesh's policy: its versions, who sees whom by it, and why."""
