"""The life cycle of alerts: acts of people, their undoing, what time and new evidence change, reviews, quality."""
