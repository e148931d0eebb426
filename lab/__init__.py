"""A network lab that proves its faults."""
