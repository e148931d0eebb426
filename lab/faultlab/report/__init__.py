"""Results as people and programs read them: terminal, HTML, JUnit, Markdown and JSON. Nothing is judged here."""
