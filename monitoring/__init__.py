"""Host agent, metric registry, Prometheus rules and objectives."""
