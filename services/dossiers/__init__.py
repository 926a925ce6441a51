"""Dossiers: one sealed file about one alert, for people outside: what was seen, how sure, what cannot be concluded."""
