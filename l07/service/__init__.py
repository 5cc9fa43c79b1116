"""The whole loop: as one process (`loop.run_loop`), and as an object for Python (`learning.LearningService`)."""
