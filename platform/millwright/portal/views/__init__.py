"""Pages, a module per noun. They call the apps' actions and read querysets limited to the user."""
