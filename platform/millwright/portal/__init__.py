"""The pages that people touch. Pages write intent through the apps' actions and never call a hypervisor."""
