"""Simulated shop-floor devices with physics, for the demo and the tests."""
