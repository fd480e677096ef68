"""FAISS indexes behind the engine interface."""
