"""Schema migrations, from the first revision on."""
