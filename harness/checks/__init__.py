"""Is a network sound, and the same in every framework?"""
