from image_updater.cli import main

if __name__ == "__main__":
    main()
