"""Codecs and engines that both ends of a wire share; none of them touches a socket."""
