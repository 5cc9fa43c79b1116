"""Gateways that a model is handed to: what each loads, and the calls that make it."""
