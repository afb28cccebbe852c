"""The relay under load beside the stock derper: goodput, frames, latency, loss and memory, on the same two cores."""
