"""segmentors"""
