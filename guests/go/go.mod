module portcullis/guests/go

go 1.24
