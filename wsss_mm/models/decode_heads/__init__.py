"""decode_heads"""
