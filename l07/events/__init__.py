"""The wire: what comes in is decoded strictly, what goes out is a function of its cause."""
