"""Runs a third party's transports in a process of their own, which never sees a key, plaintext or the TUN device."""
