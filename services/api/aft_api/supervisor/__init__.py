"""The LangGraph loop, thin: nodes call ports and pure functions."""
