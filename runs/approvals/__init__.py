"""What an approval needs: how many people, who of them, which checklist, and which owners."""
