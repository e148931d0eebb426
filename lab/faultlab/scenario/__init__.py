"""The scenario file: its model, schema, timeline, and the scenarios that ship."""
