"""Business tables, and the only place besides repositories that speaks SQL."""
