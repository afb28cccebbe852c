"""`ghostwire plugins new`: a distribution with one plugin that works and is tested, to be changed into another."""
