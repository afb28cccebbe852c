"""Where this node can be reached: what it knows of that, asks for, and advertises."""
