"""The coordination server: records, enrolment, maps and streams."""
