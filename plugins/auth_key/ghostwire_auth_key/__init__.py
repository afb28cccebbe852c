"""Enrolment by pre-auth keys."""
