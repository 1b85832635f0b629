"""Files: whole or not there at all, checked when they are read, and tables in their schemas."""
