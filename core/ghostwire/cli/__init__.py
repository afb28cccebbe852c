"""The programs `ghostwire` and `gwctl`."""
