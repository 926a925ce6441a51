"""What labels are worth: worlds are played, an analyst judges within a budget, a head learns, and other worlds tell."""
