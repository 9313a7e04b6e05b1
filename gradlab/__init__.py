"""gradlab: how good is this policy gradient, really?"""
