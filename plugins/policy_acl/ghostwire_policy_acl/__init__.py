"""The policy language of groups, tags, access rules and grants, in JSON with comments."""
