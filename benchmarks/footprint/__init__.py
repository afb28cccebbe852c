"""What an idle node costs: memory and processor time with 100 peers."""
