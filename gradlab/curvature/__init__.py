"""Mixed partials, action curvature and what they say of the policy's sensitivity."""
