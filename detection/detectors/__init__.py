"""River estimators with exact batch twins."""
