module cofferdam.invalid/interop

go 1.21
