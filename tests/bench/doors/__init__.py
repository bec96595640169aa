"""The balancer's questions on a large plant."""
