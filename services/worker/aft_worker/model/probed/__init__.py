"""Operations on parameters whose backward pass also measures each sample's gradient."""
