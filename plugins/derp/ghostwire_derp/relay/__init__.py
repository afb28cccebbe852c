"""The relay's data plane: clients, their queues, and the passing on of frames."""
