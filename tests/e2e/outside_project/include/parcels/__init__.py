"""What is this team's own."""
