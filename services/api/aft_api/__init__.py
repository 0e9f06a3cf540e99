"""The control plane: REST API, LangGraph supervisor, persisted state."""
