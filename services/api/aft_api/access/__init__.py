"""Who may do what: tokens, roles, and the gate that every request passes."""
