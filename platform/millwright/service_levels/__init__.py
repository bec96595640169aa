"""What was promised: contracts and maintenance windows."""
