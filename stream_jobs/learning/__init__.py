"""The learning job: labels to versions of the supervised head, in shadow until a person promotes one."""
