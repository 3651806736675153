"""JupyterHub and the dashboards: what the hub reads, and what it computes from the settings."""
