"""The incidents job: findings become campaigns and alerts, each exactly as an undisturbed run would have told them."""
