"""Reviews: questions to humans and their one answer."""
