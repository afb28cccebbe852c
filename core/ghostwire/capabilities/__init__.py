"""What a plugin can provide: one abstract class a file, all re-exported by `ghostwire`."""
