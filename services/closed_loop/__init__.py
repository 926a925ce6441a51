"""The closed loop: attackers who feel decisions and react, so that what Stillwatch costs them can be measured."""
