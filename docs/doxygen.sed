# Makes the comments of the headers ones that Doxygen reads: // is /// to it, and the first comment of a file is the file's.
1s|^// |/// \\file\n/// |
s|^( *)//( .*)?$|\1///\2|
s|^(.*[^ /].*[^/:])//( .*)$|\1///<\2|
