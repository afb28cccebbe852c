"""Path choice: which way each peer's packets go."""
