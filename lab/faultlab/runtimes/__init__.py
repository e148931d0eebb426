"""The runtimes make nodes, of Linux namespaces (`netns`) or of containers (`compose`), and hold a lab while it stands.

`launch` says what a runtime owes those who want a lab; `control` is how they reach its supervisor.
"""
