"""Data settings → checked arrays, resident in memory."""
